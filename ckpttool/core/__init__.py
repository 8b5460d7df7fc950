"""What every floor needs: errors, tensors and shapes, names and patterns, the notation of calls, casting."""
