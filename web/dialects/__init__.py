"""What other people's clients send and expect: requests are read here, and replies built.

A module's name begins with its dialect. The faces (`web/faces`) write an answer to its readers;
here is what they need besides: which fields a request has and what becomes of each (`*_request`),
what a message is in the words of a dialect (`*_messages`, `*_items`, `completions`), and its
errors. `gateway` is what all of them share: what identifies a repeat, when a response may begin.
"""
