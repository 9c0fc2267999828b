// Which Any types we know. Canonical JSON and unpacking resolve through this registry;
// a type URL that is not here is an unknown extension and is refused by name.
