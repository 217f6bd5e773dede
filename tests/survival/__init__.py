"""The real daemon and the real client while things go wrong: bad links, kills, firewalls, strangers, full disks.

``make survive`` runs all of it, over a link raised by the command in ``PYCHAT_LINK`` (see `tests.survival.worlds`);
`tests.system.test_survival` runs what needs only root and Linux, in a short form.
"""
