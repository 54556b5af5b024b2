build-asan/obj/src/base/bytes.o: src/base/bytes.c src/base/bytes.h \
 src/base/status.h
src/base/bytes.h:
src/base/status.h:
