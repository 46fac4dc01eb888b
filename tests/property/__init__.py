"""What holds whatever is done, in any order."""
