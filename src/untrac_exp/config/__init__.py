"""The configuration: structured configs of the shared keys, and the location of conf/.

`checks` validates a job's configuration before anything runs. `errors` turns errors into one line
that names the key and the remedy.
"""
