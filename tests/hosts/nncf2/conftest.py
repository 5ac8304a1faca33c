"""What NNCF 2 needs before it is imported: the API of `create_compressed_model`, and a compiler for its quantizers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ENVIRONMENT = Path(sys.prefix)

# Without it NNCF 2.19 refuses `create_compressed_model`.
os.environ["NNCF_TORCH_LEGACY_TRACING"] = "1"
# Its C++ quantizers are compiled once, for longer than it waits by default, and kept with the environment.
os.environ["NNCF_EXTENSION_LOAD_TIMEOUT"] = "0"
os.environ["TORCH_EXTENSIONS_DIR"] = str(ENVIRONMENT / "extensions")
# The compilation looks for ninja.
os.environ["PATH"] = os.pathsep.join([str(ENVIRONMENT / "bin"), os.environ.get("PATH", os.defpath)])
