"""The commands by whom they are for, with examples, and what an exit status means."""

import click

SECTIONS = {
    "Images from raw data": ("replay", "recon", "export", "inspect", "convert", "simulate", "compare", "config"),
    "At a site": ("serve", "health", "chain", "integration-test", "openrecon-label", "openrecon-package"),
    "Studies": ("evaluate", "reproduce", "train-unet", "bench"),
}
EXAMPLES = {
    "replay": ("replay scan.h5 -o images.h5 --dicom dicom", "replay scan.h5 -o images.h5 --set evidence.replicas=16 --png png"),
    "recon": ("recon scans -o out", "recon 'data/**/*.h5' -o out --config fast --nifti"),
    "export": ("export images.h5 -o dicom --dicom --like scanner.dcm", "export images.h5 -o image.nii.gz --nifti"),
    "inspect": ("inspect scan.h5",),
    "convert": ("convert volume.h5 scan.h5 --accel 4", "convert scan.npy scan.h5 --mask lines.npy"),
    "simulate": ("simulate -o scan.h5 --accel 4 --pattern equispaced",),
    "compare": ("compare scan.h5 images.h5 --png panel.png",),
    "serve": ("serve --metrics-port 9101", "serve --protocol mrd --host 10.0.0.5 --allow 10.0.0.0/24"),
    "health": ("health localhost:9100",),
    "chain": ("chain --connect localhost:9100 > chain.xml", "chain --check chain.xml"),
    "integration-test": ("integration-test --service localhost:9100 --cases docker/cases",),
    "openrecon-package": ("openrecon-package image.tar -o .",),
    "evaluate": ("evaluate volumes -o study --method fast --method tv --accel 4 --accel 8",),
    "reproduce": ("reproduce table2 --data volumes -o table2 --quick",),
}
STATUSES = {
    0: "done",
    1: "an error, named on stderr",
    2: "the command line is wrong",
    3: "nothing answers at an address",
    4: "a server answers, but without our gadget",
    130: "ended by Ctrl-C; nothing half-written stays",
    143: "likewise, by SIGTERM",
}


class Sections(click.Group):
    """A group whose help has its commands in sections, and whose commands have examples."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See :meth:`click.Group.format_commands`."""
        limit = formatter.width - 6 - max(map(len, self.commands))
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(n, self.commands[n].get_short_help_str(limit)) for n in names if n in self.commands])
        with formatter.section("Exit status"):
            formatter.write_dl([(str(status), meaning) for status, meaning in STATUSES.items()])

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """See :meth:`click.Group.add_command`."""
        if examples := EXAMPLES.get(name or cmd.name or ""):
            cmd.epilog = "\b\nExamples:\n" + "\n".join(f"  untrained-recon {example}" for example in examples)
        super().add_command(cmd, name)
