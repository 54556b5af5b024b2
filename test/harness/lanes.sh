# Several commands of one part at a time, as many as there are cores; sourced, not run.
#
#	lanes_open FOLDER [N]	begin; what each prints goes into a file of its own there.
#							N at a time, where they wait more than they work
#	lane NAME command ...	run it as soon as a lane is free
#	lanes_close				wait for all, then print what they printed, in the order of
#							their beginning; the status is 1 if one of them failed.  Not
#							in a pipe: it would be another shell, which knows of no lanes
#
# Tokens in a pipe are the free lanes: a command takes one, and puts it back.

lanes_open() {
	lanes_dir=$1 lanes_n=100
	rm -rf "$lanes_dir"
	mkdir -p "$lanes_dir"
	mkfifo "$lanes_dir/free"
	exec 9<>"$lanes_dir/free"
	for i in $(seq "${2:-$(nproc)}"); do echo >&9; done
}

lane() {
	lanes_n=$((lanes_n + 1))
	lanes_name=$lanes_n-$1
	shift
	read -r lanes_token <&9
	{
		lanes_begin=$(date +%s)
		"$@" >"$lanes_dir/$lanes_name.out" 2>&1 9>&- || : >"$lanes_dir/$lanes_name.failed"
		echo "# $(($(date +%s) - lanes_begin)) s" >>"$lanes_dir/$lanes_name.out"
		echo >&9
	} &
}

lanes_close() {
	wait
	exec 9>&-
	rm -f "$lanes_dir/free"
	cat "$lanes_dir"/*.out
	! ls "$lanes_dir"/*.failed >/dev/null 2>&1
}
