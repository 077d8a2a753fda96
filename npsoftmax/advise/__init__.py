"""`npsoftmax advise`: which head for these features? All that make sense are trained on them, under one budget."""
