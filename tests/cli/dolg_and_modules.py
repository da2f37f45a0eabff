"""The command `dolg`, and then the names of the modules that it imported, on standard error."""

import sys

from dolg_zoo.cli import main

try:
    main()
finally:
    print("modules:", *sys.modules, file=sys.stderr)
