"""Quantisation-aware fine-tuning: a float ONNX model whose weights are trained, with PyTorch, for a precision."""
