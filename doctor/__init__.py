"""`outlive doctor`: looks at a deployment from inside and outside, and says what to mend.

It changes nothing. Each check is a generator of findings, in the module of what it looks at; a
check that cannot be made, since a server does not answer, has that as its finding.
"""
