"""What runs a model. ONNX Runtime would report each load to its makers and leave an identifier in
the user's home: it does not here, unless the user's own environment says that it may.
"""

import os

# Read once, while onnxruntime is imported; calls that disable telemetry come too late.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
