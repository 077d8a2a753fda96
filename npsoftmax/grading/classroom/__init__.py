"""A whole class: who handed in what, what went wrong and how often, what to look at, and the files that go back."""
