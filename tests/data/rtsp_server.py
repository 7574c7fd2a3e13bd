"""A real RTSP server for tests: an endless H.264 test picture at rtsp://127.0.0.1:PORT/test.

Needs gst-rtsp-server and its Python bindings (Debian: python3-gi gir1.2-gst-rtsp-server-1.0
gstreamer1.0-plugins-{good,bad,ugly}). Run with the port, 0 for a free one; prints the port once it listens.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PICTURE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25"
    " ! rtph264pay name=pay0 pt=96 config-interval=1 )"
)

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(PICTURE)
factory.set_shared(True)
server.get_mount_points().add_factory("/test", factory)
if not server.attach(None):
    sys.exit("the port is taken")
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
