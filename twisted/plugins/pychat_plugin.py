"""Makes ``twistd`` and ``twist`` know ``pychat``.  It imports nothing of ours until it is asked to."""

from twisted.application.service import ServiceMaker

pychat = ServiceMaker("Python Chat", "pychat.tap", "A chat and a shared folder of files.", "pychat")
