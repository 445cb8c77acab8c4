//! A cache that several processes may use at once: files by their hash, folders by the hash of what made them.
