build-asan/obj/src/vec/distance.o: src/vec/distance.c src/vec/kernels.h \
 src/vec/vec.h
src/vec/kernels.h:
src/vec/vec.h:
