"""Stores of memory:// as tests fill and look at them; the bucket "nowhere" does not exist."""

from obstore import exceptions

from tfrecords import object_store, storage


class MissingBucket:
    """Fails as a store does whose bucket is not there."""

    def __getattr__(self, name):
        def fail(*arguments, **options):
            raise exceptions.GenericError("status code: 404 Not Found: NoSuchBucket")

        return fail


class MemoryStore:
    """memory://bucket and others, and which prefixes were listed."""

    def __init__(self, monkeypatch):
        object_store.forget_memory()
        open_store, listing = object_store.open_store, object_store.Store.list
        self.listed = []
        self.asked = []

        def listed(store, prefix, **options):
            self.listed.append(prefix)
            return listing(store, prefix, **options)

        monkeypatch.setattr(object_store.Store, "list", listed)
        monkeypatch.setattr(
            object_store, "open_store", lambda *key: MissingBucket() if key[-1] == "nowhere" else open_store(*key)
        )

    def write(self, uri, data):
        storage.write(uri, data)

    def read(self, uri):
        return storage.read(uri)

    def names(self, prefix):
        return [uri for uri, _ in storage.walk(prefix)]
