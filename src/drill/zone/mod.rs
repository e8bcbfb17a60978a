//! A storage zone of this process: the storage API of Bunny in front of any provider.
