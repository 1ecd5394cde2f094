"""The conductor: settings, the command line, studies, the report and the demo corpus."""
