"""``python -m gadgets PORT MODULE TARGET``: see :mod:`gadgets.launch`.

Python puts the current folder before all others; a file there that is called like a library must not be taken for it.
"""

import sys

if not getattr(sys.flags, "safe_path", False):
    del sys.path[0]

from gadgets.launch import main

sys.exit(main())
