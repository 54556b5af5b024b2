build-asan/obj/src/store/directory.o: src/store/directory.c \
 src/store/store.h src/base/bytes.h src/base/status.h
src/store/store.h:
src/base/bytes.h:
src/base/status.h:
