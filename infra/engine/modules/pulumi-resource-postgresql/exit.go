package main

import (
	"io"
	"os"
)

// exitWithEngine ends the plugin when the engine dies, however it died: the engine holds our
// standard input open and never writes to it. Pulumi's own check looks every five minutes, and so
// long a plugin would go on changing what the next run reads.
func exitWithEngine() {
	if info, err := os.Stdin.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}
