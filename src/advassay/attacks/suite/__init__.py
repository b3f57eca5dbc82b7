"""Beyond one attack: images on which an attack must succeed, and the worst case over several attacks."""
