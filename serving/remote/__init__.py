"""Bundles in object storage or an OCI registry: pushed to it, pulled from it, and served from a local copy of it.

    push   a bundle's files go up, `bundle.json` last        upload
    pull   into a staging folder, digests checked, one rename download
    serve  a process of its own keeps a local copy current    copy (in the server) <- mirror (the process)

An object store has no folders and no renames, so a version exists once its `bundle.json` is there. What lies below a
URL mirrors what lies below a folder, so that any other tool can copy it either way: `storage` is that folder, `layout`
says where bundles may lie in it. A registry has tags and content by its digest: `artifact` shows it as such a folder,
over the calls of `registry`; `stores` tells the two apart by the URL.
"""
