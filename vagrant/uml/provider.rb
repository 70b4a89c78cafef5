module BeowulfLab
  # One machine of Vagrant's: a node of the lab.
  class Provider < Vagrant.plugin("2", :provider)
    STATES = { "absent" => :not_created, "off" => :poweroff, "on" => :running, "paused" => :paused }.freeze
    WORDS = {
      not_created: "The node does not exist. `vagrant up` makes it.",
      poweroff: "The node is off; its disk is kept. `vagrant up` switches it on.",
      running: "The node is on. `vagrant halt` shuts it down, `vagrant suspend` freezes it.",
      paused: "The node is frozen, as if it hung. `vagrant resume` lets it go on.",
    }.freeze

    # Say whether labs can be had on this computer; why not, as an error, if asked to.
    def self.usable?(raise_error = false)
      raise Failed, "a lab needs Linux; take --provider=virtualbox" unless Vagrant::Util::Platform.linux?

      Command.program
      true
    rescue Failed
      raise if raise_error

      false
    end

    def initialize(machine)
      @machine = machine
      # Unless told otherwise, Vagrant checks no host key.
      machine.config.ssh.verify_host_key = :always
      machine.config.ssh.insert_key = false
      machine.config.ssh.compression = false
    end

    # Return the steps of an action, nil where a lab has no such thing.
    def action(name)
      Actions.public_send(name) if Actions.singleton_methods.include?(name)
    end

    # Return the node's state, as the lab has it now.
    def state
      id = STATES.fetch(node.fetch("state"))
      follow(id)
      Vagrant::MachineState.new(id, id.to_s.tr("_", " "), WORDS.fetch(id))
    end

    # Return how to reach the node with SSH; nil while it is not on.
    def ssh_info
      return nil unless state.id == :running

      lab = command.status
      {
        host: @machine.name.to_s,
        port: 22,
        username: lab.fetch("user"),
        private_key_path: lab.fetch("identity"),
        config: ssh_config(lab),
      }
    end

    # Have `beowulf lab` do something to this node.
    def change(ui, verb, *arguments)
      command.change(ui, verb, @machine.name.to_s, *arguments)
      state
    end

    # Make the node, or switch it on.
    def start(ui)
      command.start(ui, @machine.name.to_s)
      state
    end

    def to_s
      "beowulf lab"
    end

    private

    def command
      Command.of(@machine.provider_config.lab, @machine.provider_config.inventory)
    end

    def node
      found = command.status.fetch("nodes").find { |node| node.fetch("name") == @machine.name.to_s }
      found || { "state" => "absent" }
    end

    # Have Vagrant forget a node that was destroyed, and know one that it has not made.
    def follow(state)
      known = state == :not_created ? nil : "#{@machine.provider_config.lab}/#{@machine.name}"
      @machine.id = known if @machine.id != known
    end

    # Return the path of a configuration for ssh as well as for Vagrant's own connections: those
    # take the known hosts of the global file only, which the lab's configuration leaves alone.
    def ssh_config(lab)
      path = @machine.data_dir.join("ssh_config")
      text = <<~TEXT
        Host #{@machine.name}
          GlobalKnownHostsFile "#{lab.fetch("known_hosts")}"
          Include "#{lab.fetch("ssh_config")}"
      TEXT
      path.write(text) unless path.file? && path.read == text
      path.to_s
    end
  end
end
