"""`tandem gate`: whether a candidate is worse than its baseline by more than allowed."""
