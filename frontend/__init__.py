"""What comes in: ONNX models to ir.graph, YAML descriptions to ir.arch; every error has a place."""
