"""Many things to be done, shared out to processes of this machine or of a cluster; whoever has something in work holds its lock."""
