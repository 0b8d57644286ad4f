"""The commands of `topshelf`, by what they are for. Each reads its options and calls one function of a room."""
