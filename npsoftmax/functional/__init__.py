"""All the mathematics, as pure pairs: `thing_forward(...) -> y, cache`, right below it `thing_backward(dy, cache)`.

One readable algorithm a pair, for any array type. No pair changes what it is given.
"""
