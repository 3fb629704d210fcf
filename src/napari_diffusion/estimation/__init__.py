"""Parameters from the image: its noise, the risk of a filtered image, and the search for the smallest risk."""
