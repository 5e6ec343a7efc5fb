"""The only contract between the controller and the workers: one memory file that all of them map."""
