"""safetensors, in one file or several."""
