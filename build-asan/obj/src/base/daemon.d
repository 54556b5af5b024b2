build-asan/obj/src/base/daemon.o: src/base/daemon.c src/base/daemon.h \
 src/base/clock.h src/base/status.h
src/base/daemon.h:
src/base/clock.h:
src/base/status.h:
