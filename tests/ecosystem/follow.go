// Follows a channel with Go's standard library: NDJSON, one envelope a line. Each connection goes on from the last cursor.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

type envelope struct {
	Cursor string          `json:"cursor"`
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
}

func main() {
	cursor := "0"
	for {
		cursor = follow(os.Args[1], cursor)
		time.Sleep(300 * time.Millisecond)
	}
}

// follow reads until the connection ends, and says where that was.
func follow(channel, cursor string) string {
	answer, err := http.Get(channel + "?live=ndjson&since=" + url.QueryEscape(cursor))
	if err != nil {
		return cursor
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, answer.Status)
		return cursor
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 8<<20) // a message may have 1 MiB, and its escapes more
	for lines.Scan() {
		var message envelope
		if json.Unmarshal(lines.Bytes(), &message) != nil {
			break // cut in the middle of a line: it comes again
		}
		if message.Cursor != "" {
			cursor = message.Cursor
		}
		if !strings.HasPrefix(message.Event, "@") {
			fmt.Printf("{\"cursor\":%q,\"data\":%s}\n", message.Cursor, message.Data)
		}
	}
	return cursor
}
