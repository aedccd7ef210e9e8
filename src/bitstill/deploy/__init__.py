"""A finished run as a file for this and other runtimes: packed, ONNX, QONNX."""
