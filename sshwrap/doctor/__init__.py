"""Why can nobody reach my port: gather facts, judge them, advise, and put right on request."""
