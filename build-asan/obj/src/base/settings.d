build-asan/obj/src/base/settings.o: src/base/settings.c \
 src/base/settings.h src/base/status.h
src/base/settings.h:
src/base/status.h:
