"""Make the types of the TypeScript client anew, from the schema of an endpoint that is started for it.

python -m tests.clients.typescript.generate
"""

import sys

from tests.clients.typescript.package import TYPES, generated_types

if __name__ == "__main__":
    TYPES.write_text(generated_types())
    sys.stdout.write(f"wrote {TYPES}\n")
