"""GTZAN (Tzanetakis and Cook 2002): fetched and checked; what is known of its artists, songs, splits and faults."""
