"""Exports a finished run for this and other runtimes: packed, C, ONNX, QONNX."""
