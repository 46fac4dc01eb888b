// fixed is the asker's client put right: the key travels on the upgrade request itself.
//
//	fixed HOST:PORT KEY
//
// It says something, hears it back, closes, and prints one line of JSON about all that.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/gorilla/websocket"
)

func main() {
	address, key := os.Args[1], os.Args[2]

	dialer := websocket.Dialer{EnableCompression: true}
	header := http.Header{"X-Api-Key": {key}}
	connection, answer, err := dialer.Dial("ws://"+address+"/ws", header)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()

	if err := connection.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	_, heard, err := connection.ReadMessage()
	if err != nil {
		log.Fatal(err)
	}

	farewell := websocket.FormatCloseMessage(4001, "bye")
	deadline := time.Now().Add(5 * time.Second)
	if err := connection.WriteControl(websocket.CloseMessage, farewell, deadline); err != nil {
		log.Fatal(err)
	}
	connection.SetReadDeadline(deadline)
	_, _, err = connection.ReadMessage()
	closed, clean := err.(*websocket.CloseError)
	if !clean {
		log.Fatal(err)
	}

	json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"heard":      string(heard),
		"extensions": answer.Header.Get("Sec-WebSocket-Extensions"),
		"closed":     closed.Code,
	})
}
