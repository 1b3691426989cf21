"""The tests of Madang. A package, so that no other package that installs a folder `tests` stands before it."""
