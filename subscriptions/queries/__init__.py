"""Reading endpoints, messages and deliveries; a module for each subject."""
