"""Choice of parameters from the image: noise, risk of a filtered image, search for its minimum."""
