"""One folder a layer: `<table>.sql`, one SELECT, and `<table>.yml`, its columns, grain and checks."""
