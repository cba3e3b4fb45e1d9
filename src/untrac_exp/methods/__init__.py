"""Attribution methods, one a module, and the retraining they are compared with."""
