"""The drill: break everything while answers are written, and look whether a character was lost.

`people` ask and read in a process of their own, each with `reading`'s eyes; `director` breaks what
`fleet` runs, as `faults` says, and looks into Postgres meanwhile; `judge` compares everything that
was seen with what the provider said; `report` tells.
"""
