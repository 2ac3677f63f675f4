"""Many scans: found, shared out to workers here or on a cluster, each with its images, log and record in one folder."""
