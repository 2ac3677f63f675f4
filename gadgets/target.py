"""What ``target=`` of an ``<execute>`` names: a function that serves one scan."""

from collections.abc import Callable

from gadgetron.external.connection import Connection

from gadgets.connection import Answer, GadgetConnection, gadget


def gadget_for(message_id: int, answer: Answer) -> Callable[[Connection], None]:
    """A target that takes one kind of message and serves one scan with fits of its own.

    Args:
        message_id: The kind of message; all others pass through.
        answer: Sends back what the messages become.
    """

    @gadget
    def reconstruct(connection: GadgetConnection) -> None:
        # imported here so that a broken installation is reported to the host like any other failure
        from untrained_recon.serving.jobs import LocalJobs
        from untrained_recon.serving.session import Session

        session = Session(connection.header_xml, connection.properties)
        connection.accept(message_id)
        with LocalJobs(session.device, session.config.compute) as jobs:
            answer(connection, session, connection, jobs)

    return reconstruct
